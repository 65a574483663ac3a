package admin

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// statuses is the one table of error codes and HTTP status. Each status stands for one code, so that an answer
// is understood when its body was lost on the way.
var statuses = []struct {
	code   farm.ErrorCode
	status int
}{
	{farm.ErrorInternal, http.StatusInternalServerError},
	{farm.ErrorInvalid, http.StatusBadRequest},
	{farm.ErrorNotFound, http.StatusNotFound},
	{farm.ErrorConflict, http.StatusConflict},
	{farm.ErrorUnavailable, http.StatusServiceUnavailable},
	{farm.ErrorUnfinished, http.StatusGatewayTimeout},
}

// problemType begins the type of a problem; the code follows.
const problemType = "urn:spate:"

// problem is an error as it travels.
type problem struct {
	huma.ErrorModel
	// Progress is how far a stop was when it failed.
	Progress *farm.StopProgress `json:"progress,omitempty"`
}

func statusOf(code farm.ErrorCode) int {
	for _, row := range statuses {
		if row.code == code {
			return row.status
		}
	}
	return http.StatusInternalServerError
}

// newProblem makes a problem of an error toward people. The text of any other error stays in the server's log.
func newProblem(err error) *problem {
	code, text := farm.CodeOf(err), err.Error()
	if code == farm.ErrorInternal {
		text = "internal error of the server that answered; its log says more"
	}
	status := statusOf(code)
	return &problem{ErrorModel: huma.ErrorModel{
		Type: problemType + string(code), Title: http.StatusText(status), Status: status, Detail: text,
	}}
}

// farmError is newProblem backwards. Problems without a type of ours come from the layers below, which check
// what is asked: they are understood by their status.
func (p *problem) farmError(status int) *farm.Error {
	text := p.Detail
	for _, d := range p.Errors {
		text += "; " + d.Error()
	}
	code := farm.ErrorInvalid
	if status >= http.StatusInternalServerError {
		code = farm.ErrorInternal
	}
	name, ours := strings.CutPrefix(p.Type, problemType)
	for _, row := range statuses {
		if ours && string(row.code) == name || !ours && row.status == status {
			code = row.code
		}
	}
	return farm.Errorf(code, "%s", text)
}
