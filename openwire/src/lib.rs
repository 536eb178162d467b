//! The OpenWire commands of ActiveMQ Classic, versions 1 to 12, and their loose encoding.
