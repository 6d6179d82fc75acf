// SPDX-License-Identifier: MPL-2.0

package retention

import "context"

// PassForTest makes one pass.
func (s *Service) PassForTest(ctx context.Context) error { return s.pass(ctx) }
