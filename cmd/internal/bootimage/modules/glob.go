package modules

// Glob tells whether s matches a pattern of modules.alias: * is any text, ? any byte, [a-z] one of some bytes, and a
// backslash takes the byte after it as it is. It takes at most the time of both lengths multiplied.
func Glob(pattern, s string) bool { return glob(pattern, s, one) }

// Overlaps is Glob for all texts that s stands for at once: a question mark in it is any capital hexadecimal digit. It tells
// whether the pattern matches one of them.
func Overlaps(pattern, s string) bool {
	return glob(pattern, s, func(pattern string, c byte) (width int, ok bool) {
		if c != '?' {
			return one(pattern, c)
		}
		for _, digit := range []byte("0123456789ABCDEF") {
			if width, ok = one(pattern, digit); ok {
				break
			}
		}
		return width, ok
	})
}

// glob goes along s. What an element of the pattern takes does not depend on the others, so that the earliest place at which the
// elements between two stars fit is as good as any.
func glob(pattern, s string, one func(pattern string, c byte) (width int, ok bool)) bool {
	p, i := 0, 0
	star, mark := -1, 0 // the last star, and where its text ends
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, i
			p++
			continue
		}
		if width, ok := one(pattern[p:], s[i]); ok {
			p += width
			i++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// one tells whether the first element of a pattern is c, and how long that element is.
func one(pattern string, c byte) (width int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return class(pattern, c)
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	}
	return 1, pattern[0] == c
}

// class reads [abc], [a-c] and [!abc]. Without a closing bracket it matches nothing.
func class(pattern string, c byte) (width int, ok bool) {
	i, not := 1, false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		i, not = i+1, true
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, ok != not
		}
		low, high := pattern[i], pattern[i]
		i++
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			high = pattern[i+1]
			i += 2
		}
		ok = ok || low <= c && c <= high
	}
	return 0, false
}
