// SPDX-License-Identifier: MPL-2.0

package page

import (
	"errors"
	"net"
	"net/http"
)

// maxLoginForm bounds what somebody sends who is not logged in.
const maxLoginForm = 8 << 10

// loginView is what the login page shows.
type loginView struct {
	Wrong    string
	Code     string // of a one-time link, "" for the form with the password
	Password bool   // a password is set
}

func (s *server) loginPage(w http.ResponseWriter, r *http.Request) { s.showLogin(w, http.StatusOK, "") }

func (s *server) showLogin(w http.ResponseWriter, status int, wrong string) {
	has, err := s.access.HasPassword()
	if err != nil && wrong == "" {
		status, wrong = http.StatusInternalServerError, "The password cannot be read: "+err.Error()+"."
	}
	s.render(w, status, "login", loginView{Wrong: wrong, Password: has})
}

// enterPage shows a button that uses a one-time link. The link alone does nothing: programs
// open addresses in advance to show what is behind them.
func (s *server) enterPage(w http.ResponseWriter, r *http.Request) {
	s.render(w, http.StatusOK, "login", loginView{Code: r.URL.Query().Get("code")})
}

func (s *server) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLoginForm)
	if err := r.ParseForm(); err != nil {
		s.showLogin(w, http.StatusBadRequest, "This form cannot be read, or is too large.")
		return
	}
	token, err := s.access.login(r.Context(), r.PostForm.Get("password"), visitorOf(r))
	switch {
	case errors.Is(err, errTooMany):
		s.log.Warn("login refused", "reason", "too many attempts")
		w.Header().Set("Retry-After", "10")
		s.showLogin(w, http.StatusTooManyRequests, "There were too many attempts. Wait ten seconds, or get a link with: mimird page link")
	case errors.Is(err, errWrongPassword):
		s.log.Warn("login refused", "reason", "wrong password")
		s.showLogin(w, http.StatusUnauthorized, "This is not the password.")
	case err != nil:
		s.showLogin(w, http.StatusInternalServerError, "You cannot be logged in: "+err.Error()+".")
	default:
		s.admit(w, r, token)
	}
}

func (s *server) enter(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLoginForm)
	if err := r.ParseForm(); err != nil {
		s.showLogin(w, http.StatusBadRequest, "This form cannot be read, or is too large.")
		return
	}
	token, ok, err := s.access.enter(r.PostForm.Get("code"), visitorOf(r))
	switch {
	case err != nil:
		s.showLogin(w, http.StatusInternalServerError, "You cannot be logged in: "+err.Error()+".")
	case !ok:
		s.log.Warn("login refused", "reason", "unknown link")
		s.showLogin(w, http.StatusUnauthorized, "This link was used already, or is older than ten minutes. Get a new one with: mimird page link")
	default:
		s.admit(w, r, token)
	}
}

// admit gives the browser its session.
func (s *server) admit(w http.ResponseWriter, r *http.Request, token string) {
	http.SetCookie(w, s.newCookie(token, int(sessionLife.Seconds())))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *server) newCookie(token string, age int) *http.Cookie {
	return &http.Cookie{
		Name: s.cookie, Value: token, Path: "/", MaxAge: age, HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteStrictMode,
	}
}

func (s *server) logout(w http.ResponseWriter, r *request) {
	if err := s.access.End(r.session.id); err != nil && !errors.Is(err, ErrNoSession) {
		s.fail(w, r, err)
		return
	}
	http.SetCookie(w, s.newCookie("", -1))
	http.Redirect(w, r.Request, "/login", http.StatusSeeOther)
}

func visitorOf(r *http.Request) visitor {
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	return visitor{agent: r.UserAgent(), from: from}
}
