"""Copy a video without its sound: python data/silent_copy.py VIDEO OUT."""

import sys
from pathlib import Path

import av

video, out = map(Path, sys.argv[1:])
partial = out.with_stem(f".{out.stem}.partial")
with av.open(str(video)) as source, av.open(str(partial), "w") as copy:
    track = source.streams.video[0]
    silent = copy.add_stream_from_template(track)
    for packet in source.demux(track):
        if packet.dts is not None:  # the last packet only ends the stream
            packet.stream = silent
            copy.mux(packet)
partial.replace(out)
