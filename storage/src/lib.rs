//! A journal on a shared directory with one writer at a time: lock, lease, epoch, recovery, warm standby.
