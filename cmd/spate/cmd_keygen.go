package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/stream/secure"
)

func newKeygenCommand() *cobra.Command {
	var (
		public string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "keygen [--public FILE]",
		Short: "Make a key, or show the public key of a farm",
		Long: `Make a key and write it to standard output, one line, the contents of a key file: the secret of a farm, which all its
servers hold; the pre-shared key of a collection; the token of the admin API. When standard output is a file, it is
made readable for its owner only, as key files must be.

With --public, show the public key of the farm whose secret is in FILE. It is no secret: targets carry it, so that
they know their farm.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  spate keygen > /etc/spate/farm.key
  spate keygen --public /etc/spate/farm.key
  spate-target attach --farm-key "$(spate keygen --public farm.key)" ...`,
		Args:              exactArgs(0, "no arguments"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("public") {
				return printKey(c.OutOrStdout(), asJSON)
			}
			secret, err := keyfile.Read(public)
			if err != nil {
				return err
			}
			key := secure.NewFarm(secret).Public().String()
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]string{"farm_key": key})
			}
			fmt.Fprintln(c.OutOrStdout(), key)
			return nil
		},
	}
	c.Flags().StringVar(&public, "public", "", "show the public key of the farm whose secret is in `FILE`")
	jsonFlag(c, &asJSON)
	return c
}

// printKey writes a new key. Into a file that others can read it writes nothing before they cannot.
func printKey(w io.Writer, asJSON bool) error {
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() && info.Mode().Perm()&^keyfile.Mode != 0 {
			if err := f.Chmod(keyfile.Mode); err != nil {
				return fmt.Errorf("standard output is a file that others can read, and that cannot be changed: %w", err)
			}
		}
	}
	key := keyfile.Text(keyfile.Generate())
	if asJSON {
		return printJSON(w, map[string]string{"key": key})
	}
	_, err := fmt.Fprintln(w, key)
	return err
}
