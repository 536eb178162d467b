import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs named cases one after another, each with a bound on its time, and counts the outcomes. */
final class Harness {
    static final int CASE_SECONDS_MAX = 90;

    interface Body {
        void run(Env env) throws Exception;
    }

    private final String filter;
    private final Broker broker;
    private final List<String> failures = new ArrayList<>();
    private int passed;

    Harness(Broker broker, String filter) {
        this.broker = broker;
        this.filter = filter;
    }

    /** Runs one case unless the filter leaves it out. */
    void test(String name, Body body) {
        if (filter != null && !name.contains(filter)) {
            return;
        }
        Env env = new Env(broker, name);
        FutureTask<Void> task = new FutureTask<>(() -> {
            body.run(env);
            return null;
        });
        Thread thread = new Thread(task, name);
        thread.setDaemon(true);
        long start = System.nanoTime();
        thread.start();
        String failure = null;
        try {
            task.get(CASE_SECONDS_MAX, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            failure = "still running after " + CASE_SECONDS_MAX + " s at " + whereIs(thread);
            thread.interrupt();
        } catch (ExecutionException e) {
            failure = describe(e.getCause());
        } catch (InterruptedException e) {
            failure = "interrupted";
        }
        env.closeConnections();
        long millis = (System.nanoTime() - start) / 1_000_000;
        if (failure == null) {
            passed++;
            System.out.println("ok " + name + " (" + millis + " ms)");
        } else {
            failures.add(name);
            System.out.println("FAILED " + name + ": " + failure);
        }
        System.out.flush();
    }

    /** Prints the names of the failed cases and the counts; true when nothing failed. */
    boolean finish() {
        for (String name : failures) {
            System.out.println("failed: " + name);
        }
        System.out.println(passed + " passed, " + failures.size() + " failed");
        return failures.isEmpty() && passed > 0;
    }

    private static String describe(Throwable error) {
        StringBuilder text = new StringBuilder(String.valueOf(error));
        for (StackTraceElement frame : error.getStackTrace()) {
            if (!frame.getFileName().equals("Env.java") && isOurs(frame)) {
                text.append(" at ").append(frame.getFileName()).append(':').append(frame.getLineNumber());
                break;
            }
        }
        if (error.getCause() != null && error.getCause() != error) {
            text.append(", caused by ").append(error.getCause());
        }
        return text.toString().replace('\n', ' ');
    }

    private static String whereIs(Thread thread) {
        Map<Thread, StackTraceElement[]> all = Thread.getAllStackTraces();
        StringBuilder text = new StringBuilder();
        for (StackTraceElement frame : all.getOrDefault(thread, new StackTraceElement[0])) {
            if (isOurs(frame)) {
                text.append(frame.getFileName()).append(':').append(frame.getLineNumber()).append(' ');
            }
        }
        return text.toString();
    }

    private static boolean isOurs(StackTraceElement frame) {
        String name = frame.getClassName();
        return frame.getFileName() != null && !name.contains(".");
    }
}
