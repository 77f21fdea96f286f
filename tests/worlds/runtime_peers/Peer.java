import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.util.HexFormat;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * Speaks TLS by JSSE: "connect PROXY-PORT HOST PORT AUTHORITIES" takes a line "VERSION ORDER SIZE" for each tunnel,
 * "serve KEYSTORE PASSWORD SIZE" prints its port and serves one connection after the other. Both print the SHA-256 of
 * what they have sent and of what came.
 */
class Peer {
    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("connect")) {
            connect(arguments);
        } else {
            serve(arguments);
        }
    }

    static void connect(String[] arguments) throws Exception {
        int proxy = Integer.parseInt(arguments[1]);
        String host = arguments[2];
        int port = Integer.parseInt(arguments[3]);
        SSLContext context = trusting(arguments[4]);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = commands.readLine()) != null; ) {
            String[] words = line.split(" ");
            Socket raw = new Socket(InetAddress.getLoopbackAddress(), proxy);
            askForTunnel(raw, host + ":" + port);
            try (SSLSocket tls = (SSLSocket) context.getSocketFactory().createSocket(raw, host, port, true)) {
                tls.setEnabledProtocols(new String[] {"TLSv" + words[0]});
                var parameters = tls.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                tls.setSSLParameters(parameters);
                tls.startHandshake();
                converse(tls, words[1], Integer.parseInt(words[2]));
            }
        }
    }

    static void askForTunnel(Socket raw, String target) throws IOException {
        raw.getOutputStream().write(("CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n").getBytes());
        StringBuilder head = new StringBuilder();
        while (head.indexOf("\r\n\r\n") < 0) {
            int one = raw.getInputStream().read();
            if (one < 0) {
                throw new IOException("the proxy has gone after: " + head);
            }
            head.append((char) one);
        }
        if (!head.toString().startsWith("HTTP/1.1 200 ")) {
            throw new IOException("refused: " + head);
        }
    }

    static void serve(String[] arguments) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream file = new FileInputStream(arguments[1])) {
            store.load(file, arguments[2].toCharArray());
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(store, arguments[2].toCharArray());
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        try (SSLServerSocket listening = (SSLServerSocket)
                context.getServerSocketFactory().createServerSocket(0, 5, InetAddress.getLoopbackAddress())) {
            say(Integer.toString(listening.getLocalPort()));
            while (true) {
                try (SSLSocket tls = (SSLSocket) listening.accept()) {
                    // Before TLS 1.3, hearing the client's end ends both directions.
                    boolean canWait = tls.getSession().getProtocol().equals("TLSv1.3");
                    converse(tls, canWait ? "after" : "before", Integer.parseInt(arguments[3]));
                }
            }
        }
    }

    /** Sends before the other side does, after it has ended, or at once with it. */
    static void converse(SSLSocket tls, String order, int size) throws Exception {
        String sent;
        String came;
        switch (order) {
            case "before":
                sent = send(tls, size);
                came = takeAll(tls);
                break;
            case "after":
                came = takeAll(tls);
                sent = send(tls, size);
                break;
            default:
                CompletableFuture<String> taking = CompletableFuture.supplyAsync(() -> takeAll(tls));
                sent = send(tls, size);
                came = taking.get();
        }
        say(sent + " " + came);
    }

    static String send(SSLSocket tls, int size) throws Exception {
        byte[] data = new byte[size];
        new Random().nextBytes(data);
        OutputStream stream = tls.getOutputStream();
        for (int position = 0; position < size; position += 30_000) {
            stream.write(data, position, Math.min(30_000, size - position));
        }
        tls.shutdownOutput();
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(data));
    }

    static String takeAll(SSLSocket tls) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            byte[] buffer = new byte[65_536];
            for (int size; (size = tls.getInputStream().read(buffer)) >= 0; ) {
                digest.update(buffer, 0, size);
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    static SSLContext trusting(String authorities) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream file = new FileInputStream(authorities)) {
            store.setCertificateEntry("test", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
