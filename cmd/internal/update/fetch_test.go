// SPDX-License-Identifier: MPL-2.0

package update

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFetch_RedirectFromHTTPS_Refused(t *testing.T) {
	asked := false
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	client, done := newClient()
	defer done()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	_, err := fetch(t.Context(), client, secure.URL, 100)
	if err == nil || !strings.Contains(err.Error(), "a redirect from https to http") || asked {
		t.Fatalf("got %v; the other server was asked: %v", err, asked)
	}
}
