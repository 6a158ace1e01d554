"""Evidence of hosts: packed, hashed, signed, and kept where nobody changes it.

    RUN/HOST/MOMENT.tar.gz         what the host said, a file a look, with SHA256SUMS of its own
    RUN/HOST/MOMENT.json           what it is: run, host, when, size and SHA-256 of the archive and of every file in it
    RUN/HOST/MOMENT.json.sig       Ed25519 signature of that
    signing.pub.pem                the public half of the key

By hand: `openssl pkeyutl -verify -pubin -inkey signing.pub.pem -rawin -in M.json -sigfile M.json.sig`, `sha256sum M.tar.gz`,
`tar xzf M.tar.gz && sha256sum -c SHA256SUMS`.
"""
