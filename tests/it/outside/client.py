"""Stories of a client that is Python's standard library. Arguments: the story, a port of 127.0.0.1, a file with the CA."""

import http.client
import socket
import ssl
import sys

STORY, PORT, CA = sys.argv[1], int(sys.argv[2]), sys.argv[3]
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def context(version=None, protocols=None):
    made = ssl.create_default_context(cafile=CA)
    if version:
        made.minimum_version = made.maximum_version = VERSIONS[version]
    if protocols:
        made.set_alpn_protocols(protocols)
    return made


def connect(context, name="localhost", session=None):
    plain = socket.create_connection(("127.0.0.1", PORT), timeout=10)
    return context.wrap_socket(plain, server_hostname=name, session=session, suppress_ragged_eofs=False)


def get(stream, name="localhost", close=False):
    """One request, and its whole answer."""
    end = "Connection: close\r\n" if close else ""
    stream.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n{end}\r\n".encode())
    answer = http.client.HTTPResponse(stream)
    answer.begin()
    assert answer.status == 200, answer.status
    return answer.read()


def versions():
    for version in VERSIONS:
        for protocols, chosen in [
            (None, None),
            (["http/1.1"], "http/1.1"),
            (["h2"], "h2"),
            (["http/1.1", "h2"], "h2"),
        ]:
            with connect(context(version, protocols)) as stream:
                assert stream.version() == version, stream.version()
                assert stream.selected_alpn_protocol() == chosen, stream.selected_alpn_protocol()
                assert stream.compression() is None
                if chosen != "h2":
                    assert get(stream) == b"fine"
    try:
        connect(context(protocols=["spdy/3"]))
    except ssl.SSLError as error:
        # The name has changed between versions of OpenSSL.
        assert "no application protocol" in str(error).lower().replace("_", " "), error
    else:
        raise AssertionError("a protocol that nobody speaks was accepted")


def names():
    for name, subject in [("localhost", "localhost"), ("a.second.example", "second")]:
        with connect(context(), name) as stream:
            fields = dict(pair for entry in stream.getpeercert()["subject"] for pair in entry)
            assert fields["commonName"] == subject, fields
            assert get(stream, name) == b"fine"
    try:
        connect(context(), "third.example")
    except ssl.SSLCertVerificationError as error:
        assert "Hostname mismatch" in str(error), error
    else:
        raise AssertionError("the default certificate passed for another name")


def sessions():
    for version in VERSIONS:
        shared = context(version)
        with connect(shared) as stream:
            assert get(stream) == b"fine"
            assert not stream.session_reused
            session = stream.session
        assert session.has_ticket
        for _ in range(8):
            with connect(shared, session=session) as stream:
                assert stream.session_reused, version
                assert get(stream) == b"fine"


def kept():
    connection = http.client.HTTPSConnection("localhost", PORT, timeout=10, context=context())
    for size in [0, 1, 100, 70_000, 1_000_000]:
        body = bytes(number % 251 for number in range(size))
        for sent in [body, iter([body[: size // 2], body[size // 2 :]])]:
            connection.request("POST", "/", body=sent, encode_chunked=True)
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            assert answer.read() == body, size
    connection.close()


def end():
    for version in VERSIONS:
        # After an answer with Connection: close there is an orderly end, which `unwrap` asks for.
        with connect(context(version)) as stream:
            assert get(stream, close=True) == b"fine"
            assert stream.recv(1) == b""
        # And ours is answered.
        with connect(context(version)) as stream:
            assert get(stream) == b"fine"
            stream.unwrap().close()


{"versions": versions, "names": names, "sessions": sessions, "kept": kept, "end": end}[STORY]()
print(f"{STORY}: fine")
