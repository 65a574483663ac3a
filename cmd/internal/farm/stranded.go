package farm

// Stranded tells how many targets this server has, and how many of them no
// other server could serve now.
func (f *Farm) Stranded() (total, stranded int) {
	total, names := f.stranded()
	return total, len(names)
}
