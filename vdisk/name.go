package vdisk

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	// Extension ends the name of every sealed file.
	Extension = ".spate"
	// MaxName is the greatest length of a vDisk's name in bytes.
	MaxName = 64
	// MaxNumber is the greatest version number; the one above it means "the newest" elsewhere.
	MaxNumber = math.MaxUint32 - 1
)

// CheckName says what is wrong with the name of a vDisk. A name is part of file names, command lines and log
// lines, so it is letters, digits, '.', '_' and '-' only, and begins with a letter or digit.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("vDisk name %q: must have 1 to %d characters", name, MaxName)
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("vDisk name %q: may hold letters, digits, '.', '_', '-' and must begin with a letter or digit", name)
		}
	}
	return nil
}

// FileName is the name of the file of a version: debian12.0.spate.
func FileName(name string, number uint32) string {
	return name + "." + strconv.FormatUint(uint64(number), 10) + Extension
}

// ParseFileName takes the name of a sealed file, without folder, apart.
func ParseFileName(file string) (name string, number uint32, err error) {
	base, ok := strings.CutSuffix(file, Extension)
	dot := strings.LastIndexByte(base, '.')
	if !ok || dot < 0 {
		return "", 0, fmt.Errorf("file name %q: must be NAME.NUMBER%s", file, Extension)
	}
	n, err := strconv.ParseUint(base[dot+1:], 10, 32)
	if err != nil || n > MaxNumber || FileName(base[:dot], uint32(n)) != file {
		return "", 0, fmt.Errorf("file name %q: %q is not a version number", file, base[dot+1:])
	}
	if err := CheckName(base[:dot]); err != nil {
		return "", 0, fmt.Errorf("file name %q: %w", file, err)
	}
	return base[:dot], uint32(n), nil
}

// cleanName makes a vDisk's name of the name of an image file, or gives "".
func cleanName(image string) string {
	base := image[strings.LastIndexByte(image, '/')+1:]
	if dot := strings.LastIndexByte(base, '.'); dot > 0 {
		base = base[:dot]
	}
	name := strings.Map(func(r rune) rune {
		if r < 128 && CheckName("a"+string(r)) == nil {
			return r
		}
		return '-'
	}, base)
	name = strings.TrimLeft(name, ".-_")
	name = name[:min(len(name), MaxName)]
	if CheckName(name) != nil {
		return ""
	}
	return name
}
