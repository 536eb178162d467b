# The developer's commands. Each is plain cargo or a script that runs without `just` as well.

# List the recipes
default:
    @just --list

# Format, lints and documentation, without a warning
check:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

# Licences, banned crates and sources of the dependencies (needs cargo-deny)
deny:
    cargo deny check bans licenses sources

# All tests that need a Rust toolchain and nothing else
test:
    cargo test --workspace

# The simulation of two brokers on one directory, with 10,000 seeds
test-slow:
    BATON_SIM_SEEDS=10000 cargo test -p baton-storage --release --test tenure

# The unmodified Java client against a pair (needs Debian's activemq and libactivemq-java)
interop *ARGS:
    cargo build --release
    tests/interop/run {{ARGS}}

# The same Java suites against ActiveMQ itself: are the cases right?
interop-reference *ARGS:
    tests/interop/run --reference {{ARGS}}

# Java producers and consumers while the active broker is killed 30 times
failover-loop *ARGS:
    cargo build --release
    tests/interop/run failover {{ARGS}}

# Sends a second and memory, against ActiveMQ 5.17 in the same run
bench *ARGS:
    cargo build --release
    bench/run {{ARGS}}

# A pair on two real NFSv4.1 clients, through faults of processes, hosts, network and server (as root; needs Debian's
# user-mode-linux nfs-kernel-server nfs-common iproute2 e2fsprogs gcc)
nfs-lab *ARGS:
    cargo build --release
    tests/nfs-lab/run {{ARGS}}

# A pair on a temporary directory, to play with
pair *ARGS:
    cargo run --release -- pair {{ARGS}}

# Half an hour of a pair under traffic with messages that stay for good: disk use, memory, picture
soak *ARGS:
    cargo build --release --bin baton
    cargo run --release --example soak -- target/release/baton {{ARGS}}

# A drill: a pair under load, its active killed, and the report
demo *ARGS:
    cargo run --release -- drill {{ARGS}}

# Everything that CI runs
ci:
    .ci/run
