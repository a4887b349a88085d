package nbd

// Magic numbers: what starts a handshake, an option, its reply, a request and
// the replies to it.
const (
	magicServer     = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT", also from the server
	magicReply      = 0x0003e889045565a9 // reply to an option
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Handshake flags; the client's have the same bits.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Transmission flags.
const (
	flagHasFlags     = 1 << 0
	flagReadOnly     = 1 << 1
	flagCanMultiConn = 1 << 8
)

// Options of the handshake.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optStartTLS        = 5
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10
)

// Types of the replies to options. Those of errors have the highest bit.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4
	repError       = 1 << 31

	repErrUnsupported = repError | 1
	repErrPolicy      = repError | 2
	repErrInvalid     = repError | 3
	repErrTLSRequired = repError | 5
	repErrUnknown     = repError | 6
)

// Kinds of information in a reply of type repInfo.
const (
	infoExport    = 0
	infoBlockSize = 3
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdBlockStatus = 7
)

// cmdFlagOne asks for one extent of a block status.
const cmdFlagOne = 1 << 3

// Types of the chunks of a structured reply. Those of errors have the highest bit.
const (
	chunkDone        = 1 // a flag, not a type: the last chunk
	chunkNone        = 0
	chunkOffsetData  = 1
	chunkOffsetHole  = 2
	chunkBlockStatus = 5
	chunkError       = 1 << 15
	chunkErrorOffset = chunkError | 2 // chunkError|1 is one without an offset
)

// contextAllocation is the meta context that tells holes and zeros from data,
// with stateZero in the flags of an extent that reads as zeros.
const (
	contextAllocation = "base:allocation"
	stateHole         = 1 << 0
	stateZero         = 1 << 1
)

// Bounds of what a peer may send.
const (
	maxString  = 4096      // names, messages; the specification's limit
	maxOption  = 64 << 10  // payload of an option or of a reply to one
	maxReplies = 1 << 14   // to one option: a listing
	maxOptions = 64        // of one handshake
	maxExtents = 1 << 16   // in one block status
	maxGaps    = 1 << 12   // pieces of an answer that arrived, not yet joined
	maxWrite   = 32 << 20  // of a refused write, that must be skipped
	maxRequest = 2 << 20   // bytes of one read of ours
	maxStatus  = 1 << 30   // bytes that we ask the status of at once
	sector     = 512       // the block size of who does not announce one
	zeroes     = 124       // reserved bytes behind the answer to EXPORT_NAME
	readAhead  = 64 << 10  // buffer of the receiving side
	pieceSize  = 256 << 10 // of a large answer of the server
)
