// Package version says which version of Spate a program is.
package version
