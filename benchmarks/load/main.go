// A load generator for gRPC with requests that differ: every one gets an id of its own, and they take turns in shape.
//
// h2load sends one body only. This one does what h2load does (one connection, a fixed number of requests in flight,
// one thread of control) with a file of several framed messages, taken in turn; where a message holds the mark
// `request-00000000`, the request's number is written over the zeros. It reads each reply's grpc-status.
//
//	load -addr 127.0.0.1:8001 -path /inference.GRPCInferenceService/ModelInfer -body FILE -n 10000 -m 64 -latencies OUT
//
// Prints {"seconds", "ok", "failed"}, and writes latencies to OUT: little-endian uint32, microseconds.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	mark          = "request-00000000"
	digits        = 8
	bufferSize    = 1 << 16
	largestFrame  = 1 << 14
	initialWindow = 65535
	ourWindow     = 1<<31 - 1
	silence       = 30 * time.Second
)

func main() {
	log.SetFlags(0)
	address := flag.String("addr", "", "host:port")
	path := flag.String("path", "", "of the method")
	file := flag.String("body", "", "framed gRPC messages, one after the other")
	total := flag.Int("n", 1, "requests")
	inFlight := flag.Int("m", 1, "requests in flight")
	out := flag.String("latencies", "", "where latencies go")
	flag.Parse()
	content, err := os.ReadFile(*file)
	check(err)
	messages, err := split(content)
	check(err)
	connection, err := net.Dial("tcp", *address)
	check(err)
	run := newRun(connection, messages, headerBlock(*address, *path), *total)
	begin := time.Now()
	check(run.drive(*inFlight))
	seconds := time.Since(begin).Seconds()
	check(os.WriteFile(*out, run.latencies, 0o600))
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"seconds": seconds, "ok": run.ok, "failed": run.failed}))
}

func check(err error) {
	if err != nil {
		log.Fatal("load: ", err)
	}
}

// split takes a file of framed messages apart, each with its frame.
func split(content []byte) ([][]byte, error) {
	var messages [][]byte
	for len(content) > 0 {
		if len(content) < 5 || len(content) < 5+int(binary.BigEndian.Uint32(content[1:])) {
			return nil, errors.New("the body file ends in the middle of a message")
		}
		end := 5 + int(binary.BigEndian.Uint32(content[1:]))
		messages = append(messages, content[:end:end])
		content = content[end:]
	}
	return messages, nil
}

// headerBlock encodes the request's headers once; without the dynamic table it is the same for every stream.
func headerBlock(address, path string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSizeLimit(0)
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", address},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		check(encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	return block.Bytes()
}

type stream struct {
	begun  time.Time
	rest   []byte // of the message, what the windows have not yet let out
	window int64
	status string
}

type run struct {
	connection net.Conn
	writer     *bufio.Writer
	reader     *bufio.Reader
	framer     *http2.Framer
	decoder    *hpack.Decoder
	headers    []byte
	messages   [][]byte
	marks      []int
	streams    map[uint32]*stream
	waiting    []uint32 // streams whose message has a rest
	next       uint32
	window     int64 // of the connection
	perStream  int64
	received   uint32 // bytes of data since the connection's window was last opened
	total      int
	begun      int
	ok, failed int
	latencies  []byte
	current    *stream // whose headers are being decoded
}

func newRun(connection net.Conn, messages [][]byte, headers []byte, total int) *run {
	made := &run{
		connection: connection,
		writer:     bufio.NewWriterSize(connection, bufferSize),
		reader:     bufio.NewReaderSize(connection, bufferSize),
		headers:    headers,
		messages:   messages,
		streams:    map[uint32]*stream{},
		next:       1,
		window:     initialWindow,
		perStream:  initialWindow,
		total:      total,
		latencies:  make([]byte, 0, 4*total),
	}
	made.framer = http2.NewFramer(made.writer, made.reader)
	made.framer.SetReuseFrames()
	made.decoder = hpack.NewDecoder(4096, func(field hpack.HeaderField) {
		if field.Name == "grpc-status" && made.current != nil {
			made.current.status = field.Value
		}
	})
	for _, message := range messages {
		made.marks = append(made.marks, bytes.Index(message, []byte(mark)))
	}
	return made
}

// drive sends all requests and returns when all are answered.
func (r *run) drive(inFlight int) error {
	if _, err := r.writer.WriteString(http2.ClientPreface); err != nil {
		return err
	}
	settings := []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: ourWindow}}
	if err := r.framer.WriteSettings(settings...); err != nil {
		return err
	}
	if err := r.framer.WriteWindowUpdate(0, ourWindow-initialWindow); err != nil {
		return err
	}
	for r.begun < min(inFlight, r.total) {
		if err := r.begin(); err != nil {
			return err
		}
	}
	for r.ok+r.failed < r.total {
		// written when everything that has come is answered: one write a turn, as h2load does it
		if r.reader.Buffered() == 0 {
			if err := r.writer.Flush(); err != nil {
				return err
			}
			if err := r.connection.SetReadDeadline(time.Now().Add(silence)); err != nil {
				return err
			}
		}
		frame, err := r.framer.ReadFrame()
		if err != nil {
			return fmt.Errorf("%d of %d answered: %w", r.ok+r.failed, r.total, err)
		}
		if err := r.take(frame); err != nil {
			return err
		}
	}
	return nil
}

// begin opens the next stream and sends as much of its message as the windows let out.
func (r *run) begin() error {
	turn := r.begun % len(r.messages)
	message := r.messages[turn]
	if at := r.marks[turn]; at >= 0 {
		number := r.begun
		for place := at + len(mark) - 1; place >= at+len(mark)-digits; place-- {
			message[place] = byte('0' + number%10)
			number /= 10
		}
	}
	id := r.next
	r.next += 2
	r.begun++
	made := &stream{begun: time.Now(), rest: message, window: r.perStream}
	if r.window < int64(len(message)) || made.window < int64(len(message)) {
		made.rest = bytes.Clone(message) // the next one writes over it
	}
	r.streams[id] = made
	parameters := http2.HeadersFrameParam{StreamID: id, BlockFragment: r.headers, EndHeaders: true}
	if err := r.framer.WriteHeaders(parameters); err != nil {
		return err
	}
	if err := r.send(id, made); err != nil {
		return err
	}
	if len(made.rest) > 0 {
		r.waiting = append(r.waiting, id)
	}
	return nil
}

func (r *run) send(id uint32, s *stream) error {
	for len(s.rest) > 0 {
		size := min(int64(len(s.rest)), largestFrame, r.window, s.window)
		if size <= 0 {
			return nil
		}
		piece := s.rest[:size]
		s.rest = s.rest[size:]
		r.window -= size
		s.window -= size
		if err := r.framer.WriteData(id, len(s.rest) == 0, piece); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) take(frame http2.Frame) error {
	switch frame := frame.(type) {
	case *http2.HeadersFrame:
		if !frame.HeadersEnded() {
			return errors.New("headers in several frames")
		}
		r.current = r.streams[frame.StreamID]
		if _, err := r.decoder.Write(frame.HeaderBlockFragment()); err != nil {
			return err
		}
		if frame.StreamEnded() {
			return r.end(frame.StreamID)
		}
	case *http2.DataFrame:
		if frame.StreamEnded() {
			return errors.New("a reply without trailers")
		}
		r.received += frame.Length
		if r.received > ourWindow/2 {
			opened := r.received
			r.received = 0
			return r.framer.WriteWindowUpdate(0, opened)
		}
	case *http2.RSTStreamFrame:
		return r.end(frame.StreamID)
	case *http2.WindowUpdateFrame:
		return r.open(frame)
	case *http2.SettingsFrame:
		return r.settings(frame)
	case *http2.PingFrame:
		if !frame.IsAck() {
			return r.framer.WritePing(true, frame.Data)
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server ends the connection: %v", frame.ErrCode)
	}
	return nil
}

// end notes a stream's latency and begins the next one.
func (r *run) end(id uint32) error {
	done := r.streams[id]
	if done == nil {
		return nil
	}
	delete(r.streams, id)
	if done.status == "0" {
		r.ok++
	} else {
		r.failed++
	}
	r.latencies = binary.LittleEndian.AppendUint32(r.latencies, uint32(time.Since(done.begun).Microseconds()))
	if r.begun < r.total {
		return r.begin()
	}
	return nil
}

func (r *run) open(frame *http2.WindowUpdateFrame) error {
	if frame.StreamID == 0 {
		r.window += int64(frame.Increment)
	} else if s := r.streams[frame.StreamID]; s != nil {
		s.window += int64(frame.Increment)
	}
	return r.resume()
}

func (r *run) resume() error {
	var still []uint32
	for _, id := range r.waiting {
		s := r.streams[id]
		if s == nil {
			continue
		}
		if err := r.send(id, s); err != nil {
			return err
		}
		if len(s.rest) > 0 {
			still = append(still, id)
		}
	}
	r.waiting = still
	return nil
}

func (r *run) settings(frame *http2.SettingsFrame) error {
	if frame.IsAck() {
		return nil
	}
	if value, given := frame.Value(http2.SettingInitialWindowSize); given {
		for _, s := range r.streams {
			s.window += int64(value) - r.perStream
		}
		r.perStream = int64(value)
	}
	if err := r.framer.WriteSettingsAck(); err != nil {
		return err
	}
	return r.resume()
}
