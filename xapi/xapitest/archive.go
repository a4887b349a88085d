package xapitest

import (
	"iter"
	"net/http"
	"strings"
)

// The request lines of the transfers of whole machines and of the database, as
// Calls shows and faults name them.
const (
	exportVMRequest       = "GET /export"
	importVMRequest       = "PUT /import"
	exportMetadataRequest = "GET /export_metadata"
	importMetadataRequest = "PUT /import_metadata"
	dumpRequest           = "GET /pool/xmldbdump"
	restoreRequest        = "PUT /pool/xmldbdump"
)

// wantsChunked says that a body comes in chunks, which no host understands.
func wantsChunked(r *http.Request) bool { return len(r.TransferEncoding) > 0 }

func splitComma(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for word := range strings.SplitSeq(list, ",") {
			if word != "" && !yield(strings.TrimSpace(word)) {
				return
			}
		}
	}
}
