"""A client of one request: to see whether a server serves, to keep connections, to make handshakes."""
import socket
import ssl

REQUEST = b"GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING = b"GET /s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
BODY = 128  # bytes that /s answers


def tls_client():
    """HTTP/1.1 over TLS 1.3, with any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def connect(port, tls=None, close=False):
    """A connection on which the request was sent; with TLS if `tls` is a context. None if that failed."""
    client = None
    try:
        client = socket.create_connection(("127.0.0.1", port), timeout=5)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            client = tls.wrap_socket(client, server_hostname="localhost")
        client.sendall(CLOSING if close else REQUEST)
        return client
    except OSError:
        if client:
            client.close()
        return None


def exchange(client):
    """Reads the answer to the request; whether it is whole and right."""
    answer = b""
    try:
        while len(answer.partition(b"\r\n\r\n")[2]) < BODY:
            piece = client.recv(4096)
            if not piece:
                break
            answer += piece
    except OSError:
        pass
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200 ") and len(body) == BODY:
        return True
    client.close()
    return False


def answers(port, tls=None):
    client = connect(port, tls)
    if client is None or not exchange(client):
        return False
    client.close()
    return True
