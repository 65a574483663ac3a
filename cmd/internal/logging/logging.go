package logging

import (
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Format is how log lines are written.
type Format string

// The formats of log lines. Auto is Console on a terminal and JSON elsewhere, except under systemd, whose
// journal adds time and machine by itself and is read by people.
const (
	Auto    Format = "auto"
	Console Format = "console"
	JSON    Format = "json"
)

// Options say how a program logs.
type Options struct {
	// Level is the lowest level written: debug, info, warn or error. Empty means info.
	Level string
	// Format is how lines are written. Empty means Auto.
	Format Format
	// Output takes the lines; nil means standard error. Writes are serialised.
	Output io.Writer
}

// New builds a logger and the level by which it can be changed while it runs. The caller calls Sync on the
// logger before the program ends.
func New(o Options) (*zap.Logger, zap.AtomicLevel, error) {
	level := zap.NewAtomicLevel()
	if o.Level != "" {
		parsed, err := zapcore.ParseLevel(o.Level)
		if err != nil || parsed > zapcore.ErrorLevel {
			return nil, level, fmt.Errorf("log level %q: use debug, info, warn or error", o.Level)
		}
		level.SetLevel(parsed)
	}
	if o.Output == nil {
		o.Output = os.Stderr
	}
	journal := os.Getenv("JOURNAL_STREAM") != ""
	var encoder zapcore.Encoder
	switch o.Format {
	case Console:
		encoder = consoleEncoder(journal)
	case JSON:
		encoder = jsonEncoder()
	case Auto, "":
		if journal || isTerminal(o.Output) {
			encoder = consoleEncoder(journal)
		} else {
			encoder = jsonEncoder()
		}
	default:
		return nil, level, fmt.Errorf("log format %q: use auto, console or json", o.Format)
	}
	out := zapcore.Lock(zapcore.AddSync(o.Output))
	return zap.New(zapcore.NewCore(encoder, out, level)), level, nil
}

// Or returns the logger, or one that is silent when it is nil.
func Or(l *zap.Logger) *zap.Logger {
	if l == nil {
		return zap.NewNop()
	}
	return l
}

func jsonEncoder() zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.TimeKey = "time"
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	return zapcore.NewJSONEncoder(c)
}

func consoleEncoder(journal bool) zapcore.Encoder {
	c := zap.NewDevelopmentEncoderConfig()
	c.EncodeTime = func(t time.Time, e zapcore.PrimitiveArrayEncoder) { e.AppendString(t.Format("15:04:05.000")) }
	c.EncodeLevel = zapcore.CapitalLevelEncoder
	c.ConsoleSeparator = "  "
	if journal {
		c.TimeKey = zapcore.OmitKey
	}
	return zapcore.NewConsoleEncoder(c)
}

// isTerminal tells whether a person is likely to look at the writer while it is written to.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != ""
}
