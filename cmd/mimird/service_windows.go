// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

const (
	windowsName = "mimird"
	// windowsAccount is the account of the service, which Windows creates with it.
	windowsAccount = `NT SERVICE\` + windowsName
)

// windowsManager keeps the service on Windows.
type windowsManager struct{}

func windowsServices() (serviceManager, error) { return windowsManager{}, nil }

func (windowsManager) place(s *service) error {
	if s.user {
		return errors.New("Windows has services of the system only; leave out --user") //nolint:staticcheck // a name
	}
	s.path = windowsName
	if s.data == "" {
		dir, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
		if err != nil {
			return fmt.Errorf("find ProgramData: %w", err)
		}
		s.data = filepath.Join(dir, "mimird")
	}
	return nil
}

// onService calls f with the service. It needs the rights of an administrator.
func onService(f func(*mgr.Mgr, *mgr.Service) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("connect to the service manager: %w; this needs an administrator", err)
	}
	defer func() { _ = m.Disconnect() }() // nothing was written
	s, err := m.OpenService(windowsName)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return fmt.Errorf("there is no service; make one with: mimird service install")
	}
	if err != nil {
		return fmt.Errorf("open the service: %w", err)
	}
	defer func() { _ = s.Close() }() // as above
	return f(m, s)
}

func (w windowsManager) install(ctx context.Context, s service, program string) (serviceDone, error) {
	m, err := mgr.Connect()
	if err != nil {
		return serviceDone{}, fmt.Errorf("connect to the service manager: %w; this needs an administrator", err)
	}
	defer func() { _ = m.Disconnect() }() // nothing is written by it
	created, err := m.CreateService(windowsName, program, mgr.Config{
		DisplayName: "mimird", Description: "An always-on node of the Mimir messenger",
		StartType: mgr.StartAutomatic, DelayedAutoStart: true, ServiceStartName: windowsAccount,
	}, "up", "--no-qr", "--data", s.data)
	if errors.Is(err, windows.ERROR_SERVICE_EXISTS) {
		return serviceDone{}, errors.New("there is a service already; remove it with: mimird service uninstall")
	}
	if err != nil {
		return serviceDone{}, fmt.Errorf("create the service: %w", err)
	}
	defer func() { _ = created.Close() }() // as above
	restart := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: 30 * time.Second}
	err = errors.Join(
		created.SetRecoveryActions([]mgr.RecoveryAction{restart, restart, restart}, 24*60*60),
		created.SetRecoveryActionsOnNonCrashFailures(true),
		giveToService(s.data),
	)
	if err != nil {
		return serviceDone{}, errors.Join(fmt.Errorf("set up the service: %w", err), created.Delete())
	}
	// The source of its events may be there from before.
	_ = eventlog.InstallAsEventCreate(windowsName, eventlog.Error)
	done, err := w.status(ctx, s)
	done.Next = []string{"sc start " + windowsName}
	return done, err
}

// giveToService creates the data directory, which administrators and the service alone can
// open.
func giveToService(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	sid, _, _, err := windows.LookupSID("", windowsAccount)
	if err != nil {
		return fmt.Errorf("find the account of the service: %w", err)
	}
	access, err := windows.SecurityDescriptorFromString("D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;" + sid.String() + ")")
	if err != nil {
		return fmt.Errorf("describe access to the data directory: %w", err)
	}
	list, _, err := access.DACL()
	if err != nil {
		return fmt.Errorf("describe access to the data directory: %w", err)
	}
	err = windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
	if err != nil {
		return fmt.Errorf("give the data directory to the service: %w", err)
	}
	return nil
}

func (w windowsManager) uninstall(ctx context.Context, s service) (serviceDone, error) {
	done, err := w.status(ctx, s)
	if err != nil {
		return done, err
	}
	err = onService(func(_ *mgr.Mgr, s *mgr.Service) error {
		status, err := s.Query()
		if err != nil {
			return fmt.Errorf("ask the service manager: %w", err)
		}
		if status.State != svc.Stopped {
			return fmt.Errorf("the service is %s; stop it first: sc stop %s", done.State, windowsName)
		}
		if err := s.Delete(); err != nil {
			return fmt.Errorf("remove the service: %w", err)
		}
		return nil
	})
	if err != nil {
		return done, err
	}
	_ = eventlog.Remove(windowsName) // may be missing
	done.State = "removed"
	return done, nil
}

func (windowsManager) status(_ context.Context, s service) (serviceDone, error) {
	done := serviceDone{Unit: windowsName, Data: s.data}
	err := onService(func(_ *mgr.Mgr, s *mgr.Service) error {
		status, err := s.Query()
		if err != nil {
			return fmt.Errorf("ask the service manager: %w", err)
		}
		config, err := s.Config()
		if err != nil {
			return fmt.Errorf("ask the service manager: %w", err)
		}
		if words, err := windows.DecomposeCommandLine(config.BinaryPathName); err == nil && len(words) > 4 {
			done.Data = words[4] // mimird up --no-qr --data DIRECTORY
		}
		done.State = windowsState(status)
		return nil
	})
	return done, err
}

func windowsState(status svc.Status) string {
	words := map[svc.State]string{
		svc.Stopped: "stopped", svc.StartPending: "starting", svc.StopPending: "stopping", svc.Running: "running",
		svc.ContinuePending: "continuing", svc.PausePending: "pausing", svc.Paused: "paused",
	}
	text := words[status.State]
	if status.State == svc.Stopped && status.ServiceSpecificExitCode != 0 {
		text += fmt.Sprintf(", ended with exit code %d", status.ServiceSpecificExitCode)
	}
	return text
}

// asService runs the program as a service when the service manager has started it: it tells
// the manager that it runs, and stops when the manager says so. What it would write on
// standard error goes to the event log.
func asService(run func() int) int {
	is, err := svc.IsWindowsService()
	if err != nil || !is {
		return run()
	}
	if os.Getenv("MIMIRD_LOG_FILE") == "" {
		_ = os.Setenv("MIMIRD_LOG_FILE", serviceLog) // fails for names that are not valid
	}
	if events, err := eventlog.Open(windowsName); err == nil {
		defer events.Close()
		standardError = eventWriter{events}
	}
	standardOutput = io.Discard
	h := &serviceHandler{run: run}
	if err := svc.Run(windowsName, h); err != nil {
		return exitError
	}
	return h.code
}

// serviceHandler is what the service manager talks to.
type serviceHandler struct {
	run  func() int
	code int
}

// Execute implements [svc.Handler].
func (h *serviceHandler) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (isOwnCode bool, code uint32) {
	ended := make(chan int, 1)
	go func() { ended <- h.run() }()
	running := svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	status <- running
	stopping := false
	for {
		select {
		case h.code = <-ended:
			return true, uint32(h.code)
		case request := <-requests:
			switch request.Cmd {
			case svc.Interrogate:
				status <- request.CurrentStatus
			case svc.Stop, svc.Shutdown:
				if !stopping {
					stopping = true
					close(stopRequested)
				}
				status <- svc.Status{State: svc.StopPending, WaitHint: 20_000}
			}
		}
	}
}

// eventWriter writes errors into the event log.
type eventWriter struct{ events *eventlog.Log }

func (w eventWriter) Write(text []byte) (int, error) {
	return len(text), w.events.Error(1, string(text))
}
