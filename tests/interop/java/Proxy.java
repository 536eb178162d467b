import java.io.Closeable;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Stands between a client and the active broker and can lose what a bad network loses: a response, a connection,
 * or only the client's half of one. It knows no more of OpenWire than size and type of a frame.
 */
final class Proxy implements Closeable {
    private static final int RESPONSE = 30;

    private final Broker broker;
    private final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    private final List<Socket> clientSides = new ArrayList<>();
    private final List<Socket> brokerSides = new ArrayList<>();
    private boolean isPaused;
    private boolean pausesAfterSwallowing;
    private CountDownLatch toSwallow;

    Proxy(Broker broker) throws IOException {
        this.broker = broker;
        start(this::accept);
    }

    String url() {
        return "tcp://127.0.0.1:" + listener.getLocalPort();
    }

    String failoverUrl() {
        return "failover:(" + url() + ")";
    }

    /** Loses all connections, on both sides. */
    synchronized void cut() {
        closeAll(clientSides);
        closeAll(brokerSides);
    }

    /** Loses the connections at the client, while the broker still believes in them. */
    synchronized void cutClientOnly() {
        closeAll(clientSides);
    }

    /** Refuses connections until resumed. */
    synchronized void pause() {
        isPaused = true;
    }

    /** Once the response is swallowed, connections are refused until resumed. */
    synchronized void pauseAfterSwallowing() {
        pausesAfterSwallowing = true;
    }

    synchronized void resume() {
        isPaused = false;
    }

    /** The next response of the broker is swallowed; then everything is cut and the latch falls. */
    synchronized CountDownLatch swallowNextResponse() {
        toSwallow = new CountDownLatch(1);
        return toSwallow;
    }

    static void await(CountDownLatch latch) throws InterruptedException {
        Env.check(latch.await(Env.WAIT_MS, TimeUnit.MILLISECONDS), "a response came and was swallowed");
    }

    @Override
    public synchronized void close() throws IOException {
        listener.close();
        cut();
    }

    private void accept() {
        try {
            while (true) {
                Socket client = listener.accept();
                synchronized (this) {
                    if (isPaused) {
                        client.close();
                        continue;
                    }
                }
                connect(client);
            }
        } catch (IOException e) {
            // Closed.
        }
    }

    private void connect(Socket client) throws IOException {
        Socket upstream;
        try {
            upstream = new Socket(broker.host(), broker.port());
        } catch (IOException e) {
            client.close();
            return;
        }
        client.setTcpNoDelay(true);
        upstream.setTcpNoDelay(true);
        synchronized (this) {
            clientSides.add(client);
            brokerSides.add(upstream);
        }
        start(() -> {
            try {
                client.getInputStream().transferTo(upstream.getOutputStream());
                upstream.close();
            } catch (IOException e) {
                // Either side is gone; cutClientOnly leaves the broker's side alone.
            }
        });
        start(() -> toClient(upstream, client));
    }

    private void toClient(Socket upstream, Socket client) {
        try (client) {
            DataInputStream in = new DataInputStream(upstream.getInputStream());
            OutputStream out = client.getOutputStream();
            while (true) {
                int size = in.readInt();
                byte[] frame = new byte[4 + size];
                java.nio.ByteBuffer.wrap(frame).putInt(size);
                in.readFully(frame, 4, size);
                if (size > 0 && frame[4] == RESPONSE && swallows()) {
                    return;
                }
                out.write(frame);
                out.flush();
            }
        } catch (IOException e) {
            // Either side is gone.
        }
    }

    private synchronized boolean swallows() {
        if (toSwallow == null) {
            return false;
        }
        CountDownLatch latch = toSwallow;
        toSwallow = null;
        isPaused |= pausesAfterSwallowing;
        pausesAfterSwallowing = false;
        cut();
        latch.countDown();
        return true;
    }

    private static void closeAll(List<Socket> sockets) {
        for (Socket socket : sockets) {
            try {
                socket.close();
            } catch (IOException e) {
                // Closed is closed.
            }
        }
        sockets.clear();
    }

    private static void start(Runnable body) {
        Thread thread = new Thread(body, "proxy");
        thread.setDaemon(true);
        thread.start();
    }
}
