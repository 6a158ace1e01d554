"""What a backup is: sets of parts under a signed manifest, and the WAL between them. No input or output here.

On every site the same tree, byte for byte, below the site's own directory or prefix:

    SERVICE/sets/SET/manifest.json       what the set consists of: see `manifest`
    SERVICE/sets/SET/manifest.sig        Ed25519 signature of manifest.json, 64 bytes
    SERVICE/sets/SET/part-000001.age     a piece of one stream: tar, zstd, cut, each piece encrypted by age
    SERVICE/sets/SET/list.age            of a set of files: what the stream holds, with hashes
    SERVICE/wal/TIMELINE/SEGMENT.zst.age a WAL segment; a timeline's history likewise
    SERVICE/wal/partial/SEGMENT-LSN.zst.age  the segment that still grows, as far as it was received
    SERVICE/wal/index/HOUR-NUMBER.json, .sig what WAL there is, signed: see `archive`

Layers, top down: compare > manifest, archive > keys, signing, wal.
"""
