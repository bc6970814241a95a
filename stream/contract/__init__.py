"""What every part of weibowatch speaks: records, ports, the wire codec, signal names, the tokeniser.

Nothing here reads a clock, a file, the environment or the network.
"""
