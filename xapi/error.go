package xapi

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a failure that the pool reported: of a call, or of a task. Params are what the pool says about it, in its order; session
// references and the client's password are replaced by ***. Codes are an open set: compare with errors.Is and the sentinels below,
// or with &Error{Code: "…"}.
type Error struct {
	Method string // the call, or what the task was for; empty in sentinels
	Code   string
	Params []string
}

// maxErrorText bounds what one Error prints; storage drivers put whole backtraces into parameters.
const maxErrorText = 512

// Error prints the method, the code and the parameters, shortened when long.
func (e *Error) Error() string {
	text := e.Code
	if len(e.Params) > 0 {
		text += " (" + strings.Join(e.Params, ", ") + ")"
	}
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	if e.Method == "" {
		return "xapi: " + text
	}
	return "xapi: " + e.Method + ": " + text
}

// Is reports whether target is an *Error of the same code. SR_BACKEND_FAILURE also stands for the numbered codes of that family.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	if !ok {
		return false
	}
	return e.Code == t.Code || t.Code == "SR_BACKEND_FAILURE" && strings.HasPrefix(e.Code, "SR_BACKEND_FAILURE_")
}

// Sentinels for the codes that callers branch on. They compare by Code: errors.Is(err, xapi.ErrVDIInUse).
var (
	ErrAuthenticationFailed          = &Error{Code: "SESSION_AUTHENTICATION_FAILED"}
	ErrAuthorizationFailed           = &Error{Code: "SESSION_AUTHORIZATION_FAILED"}
	ErrSessionInvalid                = &Error{Code: "SESSION_INVALID"} // seen only when logging in again did not help
	ErrHostIsSlave                   = &Error{Code: "HOST_IS_SLAVE"}   // seen only when following to the master did not help
	ErrHandleInvalid                 = &Error{Code: "HANDLE_INVALID"}  // the object is gone
	ErrUUIDInvalid                   = &Error{Code: "UUID_INVALID"}
	ErrOtherOperationInProgress      = &Error{Code: "OTHER_OPERATION_IN_PROGRESS"}
	ErrOperationNotAllowed           = &Error{Code: "OPERATION_NOT_ALLOWED"}
	ErrOperationBlocked              = &Error{Code: "OPERATION_BLOCKED"}
	ErrVMBadPowerState               = &Error{Code: "VM_BAD_POWER_STATE"}
	ErrVMIsTemplate                  = &Error{Code: "VM_IS_TEMPLATE"}
	ErrVMIsSnapshot                  = &Error{Code: "VM_IS_SNAPSHOT"}
	ErrVMLacksFeature                = &Error{Code: "VM_LACKS_FEATURE"}
	ErrVMSnapshotQuiesceNotSupported = &Error{Code: "VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED"}
	ErrSRFull                        = &Error{Code: "SR_FULL"}
	ErrSRBackendFailure              = &Error{Code: "SR_BACKEND_FAILURE"} // matches SR_BACKEND_FAILURE_<n> too
	ErrVDIInUse                      = &Error{Code: "VDI_IN_USE"}
	ErrVDINotManaged                 = &Error{Code: "VDI_NOT_MANAGED"}
	ErrVDIMissing                    = &Error{Code: "VDI_MISSING"}
	ErrVDIIOError                    = &Error{Code: "VDI_IO_ERROR"}
	ErrVDITooLarge                   = &Error{Code: "VDI_TOO_LARGE"}
	ErrVDINoCBTMetadata              = &Error{Code: "VDI_NO_CBT_METADATA"}
	ErrVDICBTEnabled                 = &Error{Code: "VDI_CBT_ENABLED"}
	ErrVDIIncompatibleType           = &Error{Code: "VDI_INCOMPATIBLE_TYPE"}
	ErrDuplicateMACSeed              = &Error{Code: "DUPLICATE_MAC_SEED"}
	ErrClientError                   = &Error{Code: "CLIENT_ERROR"} // the pool saw our side of a transfer close
	ErrTaskCancelled                 = &Error{Code: "TASK_CANCELLED"}
	ErrEventsLost                    = &Error{Code: "EVENTS_LOST"}
	ErrEventTokenInvalid             = &Error{Code: "EVENT_FROM_TOKEN_PARSE_FAILURE"}
	ErrMessageMethodUnknown          = &Error{Code: "MESSAGE_METHOD_UNKNOWN"}
	ErrMessageParameterCountMismatch = &Error{Code: "MESSAGE_PARAMETER_COUNT_MISMATCH"}
	ErrMessageRemoved                = &Error{Code: "MESSAGE_REMOVED"}
	ErrFieldType                     = &Error{Code: "FIELD_TYPE_ERROR"}
	ErrInternal                      = &Error{Code: "INTERNAL_ERROR"}
	ErrLicenceRestriction            = &Error{Code: "LICENCE_RESTRICTION"}
	ErrPermissionDenied              = &Error{Code: "RBAC_PERMISSION_DENIED"}
	ErrHostStillBooting              = &Error{Code: "HOST_STILL_BOOTING"}
	ErrHostOffline                   = &Error{Code: "HOST_OFFLINE"}
	ErrCannotContactHost             = &Error{Code: "CANNOT_CONTACT_HOST"}
	ErrTooManyPendingTasks           = &Error{Code: "TOO_MANY_PENDING_TASKS"}
	ErrTooBusy                       = &Error{Code: "TOO_BUSY"}
)

// Errors of the connection rather than of the pool. Each comes wrapped with the host it happened on.
var (
	// ErrUnreachable: no connection could be made. The network's own error is wrapped beside it.
	ErrUnreachable = errors.New("host unreachable")
	// ErrConnectionLost: the connection broke before the answer was complete. Whether the call was done is unknown.
	ErrConnectionLost = errors.New("connection lost")
	// ErrProtocol: something answered, but not the pool's API: another status, HTML, broken or oversized JSON.
	ErrProtocol = errors.New("unexpected answer")
	// ErrRequestTooLarge: the request exceeds the 300 KiB that pools accept; nothing was sent.
	ErrRequestTooLarge = errors.New("request larger than pools accept")
	// ErrStalled: bytes, or an answer, stopped coming for longer than the configured limit.
	ErrStalled = errors.New("transfer stalled")
	// ErrTruncated: a transfer ended before its end. It is also io.ErrUnexpectedEOF.
	ErrTruncated = errors.New("transfer truncated")
	// ErrClosed: the client or the transfer was closed before.
	ErrClosed = errors.New("closed")
)

// hostError puts the host in front of an error of the connection: xapi: pool.example.org: host unreachable: …
func hostError(host string, kind, err error) error {
	if err == nil {
		return fmt.Errorf("xapi: %s: %w", host, kind)
	}
	return fmt.Errorf("xapi: %s: %w: %w", host, kind, err)
}
