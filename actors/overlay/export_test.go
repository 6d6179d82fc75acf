// SPDX-License-Identifier: MPL-2.0

package overlay

// EndListenerForTest ends a listener as an error of its socket would: Yggdrasil is told
// nothing.
func (n *Network) EndListenerForTest(i int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[i].listener.Cancel()
}
