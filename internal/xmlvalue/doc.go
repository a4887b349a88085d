// Package xmlvalue reads and writes XML-RPC values: the text of task results and of ova.xml, as xapi writes it.
//
//	<value><struct><member><name>size</name><value>42</value></member></struct></value>
//
// What xapi does that XML-RPC does not say, and other decoders get wrong:
//
//   - A string has no tag, and its white space counts: <value> a </value> is " a ".
//   - An integer has no tag either: it is its decimal text. The reader cannot tell it from a string; the caller knows the type.
//   - Member names are not escaped, so a name may hold a bare & or <. A name ends at the first </name>.
//   - A double may be nan, inf or -inf. A date keeps its text, with whatever zone notation it came.
//
// The Go values are:
//
//	untagged, string         string
//	int, i4, i8              int64
//	boolean                  bool
//	double                   float64
//	dateTime.iso8601         DateTime
//	base64                   []byte
//	array                    []any
//	struct                   map[string]any
//	nil                      nil
//
// Input is hostile: depth and size are bounded, and broken text is a *SyntaxError that names the offset, never a panic.
package xmlvalue
