// Package httpboot serves the tree of package files by HTTP: GET and HEAD, ranges, strong entity tags.
//
// Names are taken as they stand in the request: no percent-decoding, no cleaning of dots or slashes, no redirects, no
// listings. Errors are a line of plain text. A script is made for each request and may not be kept; everything else has a tag of its
// bytes. A machine that names its card gets the first part of a boot image when that is enough for the card, as if it were the file. A client that takes nothing for a while is dropped, however long the whole may take on a slow link.
package httpboot
