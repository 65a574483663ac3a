package ipxe

import "github.com/spate-project/spate/bootsvc"

func AnyScript(farm bootsvc.Farm) []byte                              { return nil }
func AnyGRUB(farm bootsvc.Farm) []byte                                { return nil }
func Script(c bootsvc.Client, e bootsvc.Entry, f bootsvc.Farm) []byte { return nil }
func GRUB(c bootsvc.Client, e bootsvc.Entry, f bootsvc.Farm) []byte   { return nil }
