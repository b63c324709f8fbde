"""Text and bytes in, values out: what remotes and browsers send, understood without I/O."""
