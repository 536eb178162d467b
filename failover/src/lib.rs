//! failover: URIs, a reconnecting transport, and an OpenWire client that survives a takeover.
