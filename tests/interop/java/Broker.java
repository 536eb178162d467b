import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/**
 * The broker or pair under test. What it can do beyond being connected to (restart, kill) is asked of the runner:
 * a line "@command" on standard output, one line with the answer on standard input.
 */
final class Broker {
    /** Where the active broker listens, for instance tcp://127.0.0.1:61616. */
    private String url;
    /** A failover: URI of all members. */
    final String failoverUrl;
    /** ActiveMQ itself: a few stricter promises of ours are not asked of it. */
    final boolean isReference;
    /** Whether the runner started the broker and may stop it. */
    final boolean isControlled;
    private final BufferedReader answers =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    Broker(String url, String failoverUrl, boolean isReference, boolean isControlled) {
        this.url = url;
        this.failoverUrl = failoverUrl;
        this.isReference = isReference;
        this.isControlled = isControlled;
    }

    synchronized String url() {
        return url;
    }

    synchronized String host() {
        return url.substring("tcp://".length()).split(":")[0];
    }

    synchronized int port() {
        return Integer.parseInt(url.substring(url.lastIndexOf(':') + 1));
    }

    /** Stops all members in an orderly way and starts them again. */
    synchronized void restart() throws IOException {
        url = ask("restart");
    }

    /** Kills the active with SIGKILL and waits until another member is active; the killed one is started again. */
    synchronized void kill() throws IOException {
        url = ask("kill");
    }

    /** Stops the active with SIGTERM and waits until another member is active; the stopped one is started again. */
    synchronized void switchOver() throws IOException {
        url = ask("switchover");
    }

    private String ask(String command) throws IOException {
        System.out.println("@" + command);
        System.out.flush();
        String answer = answers.readLine();
        if (answer == null || !answer.startsWith("ok ")) {
            throw new IOException("the runner could not " + command + ": " + answer);
        }
        return answer.substring(3).trim();
    }
}
