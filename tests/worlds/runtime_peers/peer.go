// Speaks TLS by Go's own library: "connect PROXY-PORT HOST PORT AUTHORITIES" takes a line "VERSION ORDER SIZE" for
// each tunnel, "serve CHAIN KEY SIZE" prints its port and serves one connection after the other. Both print the
// SHA-256 of what they have sent and of what came.
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func main() {
	if os.Args[1] == "connect" {
		connect(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	} else {
		serve(os.Args[2], os.Args[3], number(os.Args[4]))
	}
}

func connect(proxy, host, port, authorities string) {
	pem, err := os.ReadFile(authorities)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	sessions := tls.NewLRUClientSessionCache(0)
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		words := strings.Fields(commands.Text())
		raw, err := net.Dial("tcp", "127.0.0.1:"+proxy)
		must(err)
		askForTunnel(raw, host+":"+port)
		version := versions[words[0]]
		one := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: host, ClientSessionCache: sessions,
			MinVersion: version, MaxVersion: version})
		must(one.Handshake())
		converse(one, words[1], number(words[2]))
	}
}

func askForTunnel(raw net.Conn, target string) {
	_, err := fmt.Fprintf(raw, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	must(err)
	head := ""
	for one := make([]byte, 1); !strings.HasSuffix(head, "\r\n\r\n"); head += string(one) {
		_, err := io.ReadFull(raw, one)
		must(err)
	}
	if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		panic("refused: " + head)
	}
}

func serve(chain, key string, size int) {
	certificate, err := tls.LoadX509KeyPair(chain, key)
	must(err)
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(listening.Addr().(*net.TCPAddr).Port)
	settings := &tls.Config{Certificates: []tls.Certificate{certificate}}
	for {
		raw, err := listening.Accept()
		must(err)
		one := tls.Server(raw, settings)
		must(one.Handshake())
		order := "after"
		if one.ConnectionState().Version == tls.VersionTLS12 {
			order = "before"
		}
		converse(one, order, size)
	}
}

// converse sends before the other side does, after it has ended, or at once with it.
func converse(one *tls.Conn, order string, size int) {
	var sent, came string
	switch order {
	case "before":
		sent = send(one, size)
		came = takeAll(one)
	case "after":
		came = takeAll(one)
		sent = send(one, size)
	default:
		taking := make(chan string)
		go func() { taking <- takeAll(one) }()
		sent = send(one, size)
		came = <-taking
	}
	must(one.Close())
	fmt.Println(sent, came)
}

func send(one *tls.Conn, size int) string {
	data := make([]byte, size)
	_, err := rand.Read(data)
	must(err)
	for rest := data; len(rest) > 0; {
		piece := rest[:least(30_000, len(rest))]
		_, err := one.Write(piece)
		must(err)
		rest = rest[len(piece):]
	}
	must(one.CloseWrite())
	must(one.NetConn().(*net.TCPConn).CloseWrite())
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

func takeAll(one *tls.Conn) string {
	digest := sha256.New()
	_, err := io.Copy(digest, one)
	must(err)
	return fmt.Sprintf("%x", digest.Sum(nil))
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	must(err)
	return value
}

func least(one, other int) int {
	if one < other {
		return one
	}
	return other
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
