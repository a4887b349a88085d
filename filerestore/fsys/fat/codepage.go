package fat

// CodePage437 is the upper half of the code page of the first PCs, in which
// short names are decoded unless Options say otherwise.
const CodePage437 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00A0"

// codePage decodes bytes from 0x80 on.
type codePage [128]rune

// newCodePage makes one of 128 characters; ok is false of another number.
func newCodePage(upper string) (p *codePage, ok bool) {
	p = &codePage{}
	i := 0
	for _, r := range upper {
		if i < len(p) {
			p[i] = r
		}
		i++
	}
	return p, i == len(p)
}

func (p *codePage) decode(c byte) rune {
	if c < 0x80 {
		return rune(c)
	}
	return p[c-0x80]
}
