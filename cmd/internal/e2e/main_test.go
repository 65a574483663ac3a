//go:build e2e || system

package e2e

import (
	"os"
	"testing"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

func TestMain(m *testing.M) { os.Exit(vmlab.Main(m)) }
