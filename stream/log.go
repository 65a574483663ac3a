package stream

import (
	"fmt"
	"net/netip"

	"go.uber.org/zap/zapcore"

	"github.com/spate-project/spate/stream/wire"
)

// Logger is what a server tells of itself to; a *zap.Logger is one. Package zap itself is not imported: it brings net/http, by which
// its level can be set, into every program with a Client, and makes that of a target an eighth larger.
type Logger interface {
	Debug(message string, fields ...zapcore.Field)
	Info(message string, fields ...zapcore.Field)
	Warn(message string, fields ...zapcore.Field)
	Error(message string, fields ...zapcore.Field)
}

// silent is the Logger of who wants none.
type silent struct{}

// Debug implements Logger.
func (silent) Debug(string, ...zapcore.Field) {}

// Info implements Logger.
func (silent) Info(string, ...zapcore.Field) {}

// Warn implements Logger.
func (silent) Warn(string, ...zapcore.Field) {}

// Error implements Logger.
func (silent) Error(string, ...zapcore.Field) {}

func keyText(key, text string) zapcore.Field {
	return zapcore.Field{Key: key, Type: zapcore.StringType, String: text}
}

func keyTarget(a netip.AddrPort) zapcore.Field { return keyText("target", a.String()) }

func keyError(err error) zapcore.Field {
	return zapcore.Field{Key: "error", Type: zapcore.ErrorType, Interface: err}
}

func keyDisk(d wire.Disk) zapcore.Field {
	return keyText("vdisk", fmt.Sprintf("%s @ %d", d.Name, d.Number))
}

func keyObject(level uint8, index int64) zapcore.Field {
	if level == 0 {
		return zapcore.Field{Key: "chunk", Type: zapcore.Int64Type, Integer: index}
	}
	return keyText("page", fmt.Sprintf("%d/%d", level, index))
}
