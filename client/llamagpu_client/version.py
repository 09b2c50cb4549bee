"""The version of this client; its name goes out as the user agent."""

VERSION = "0.1.0"
