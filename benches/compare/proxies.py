"""The proxies that are compared, and their settings, which say the same thing in each one's language:
as many workers, 10 s for a request's head, HTTP/1.1 to the backends, round robin over three backends, 1,024 kept backend connections,
kept client connections for 300 s, no access log, no bound on requests per connection. With TLS: versions 1.2 and
1.3, HTTP/2 and HTTP/1.1 by ALPN, one certificate; session tickets and caches as they are by default. With a limit: of
so many requests a second for each client address, as many at once, 429 above.

evenkeel's metrics are on: it has no switch to turn them off. In a template, {NAME} is replaced.
"""
import os
import re
import shutil
import subprocess
import sys

NGINX = """
daemon off; worker_processes {workers}; worker_rlimit_nofile 20000;
pid {dir}/nginx.pid; error_log {dir}/error.log crit;
events { worker_connections 9000; }
http {
  access_log off; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 1000000000; client_header_timeout 10s;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  upstream backends {
    server 127.0.0.1:{b1}; server 127.0.0.1:{b2}; server 127.0.0.1:{b3};
    keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 300s;
  }
  {limit}
  server {
    listen 127.0.0.1:{port} reuseport backlog=4096{tls};
    location / {
      proxy_pass http://backends; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffers 8 32k; proxy_buffer_size 32k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
    }
  }
}
"""
NGINX_LIMIT = """limit_req_zone $binary_remote_addr zone=clients:32m rate={rate}r/s; limit_req_status 429;
  limit_req zone=clients burst={rate} nodelay;"""
# `http2` is a parameter up to nginx 1.25; later ones warn, and take it.
NGINX_TLS = """ ssl http2;
    ssl_certificate {certificate}; ssl_certificate_key {certificate}; ssl_protocols TLSv1.2 TLSv1.3"""

HAPROXY = """
global
  nbthread {workers}
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-request 10s
  timeout http-keep-alive 300s
frontend front
  bind 127.0.0.1:{port} backlog 4096{tls}
{limit}
  default_backend back
backend back
  balance roundrobin
  http-reuse always
  server b1 127.0.0.1:{b1}
  server b2 127.0.0.1:{b2}
  server b3 127.0.0.1:{b3}
"""
# What is refused is not counted: else whoever is above the limit gets nothing at all.
HAPROXY_LIMIT = """
  stick-table type ip size 1m expire 10s store http_req_rate(1s)
  http-request deny deny_status 429 if { src_http_req_rate gt {rate} }
  http-request track-sc0 src"""
HAPROXY_TLS = " ssl crt {certificate} alpn h2,http/1.1 ssl-min-ver TLSv1.2"

EVENKEEL = """
[server]
workers = {workers}

[admin]
address = "unix:{dir}/admin.sock"

[log]
access = "off"

[[listener]]
address = "127.0.0.1:{port}"
idle_timeout = "300s"
{tls}
[pool.backends]
backends = ["127.0.0.1:{b1}", "127.0.0.1:{b2}", "127.0.0.1:{b3}"]
keepalive = { max_idle = 1024, idle_timeout = "300s" }
{limit}
"""
EVENKEEL_LIMIT = """
[rate_limit.clients]
key = "client_ip"
rate = "{rate}/s"

[[route]]
pool = "backends"
rate_limit = "clients"
"""
EVENKEEL_TLS = """
[listener.tls]
certificates = [{ cert = "{certificate}", key = "{certificate}" }]
"""


class Proxy:
    """`command`, `config`, and its parts for TLS and for a limit (None: has none) are templates; `program` is a path
    once `find` has been here."""

    def __init__(self, name, command, config="", tls=None, limit=None, version=None, package=None):
        self.name, self.command, self.config, self.tls, self.limit = name, command, config, tls, limit
        self.version_flag, self.package = version, package
        self.program, self.version = None, "this repository's"

    def find(self, built):
        """Finds the program, or says how to get it."""
        self.program = built.get(self.name) or find_program(self.name, self.package)
        if self.version_flag:
            self.version = first_line([self.program, self.version_flag])

    def prepare(self, values, tls, rate=None):
        """Writes the configuration, with TLS or without, with a limit of `rate` a second or without; returns the
        command line."""
        values = {**values, "program": self.program, "config": os.path.join(values["dir"], self.name + ".conf"),
                  "tls": fill(self.tls, values) if tls else "",
                  "limit": fill(self.limit, {"rate": rate}) if rate else ""}
        with open(values["config"], "w") as file:
            file.write(fill(self.config, values))
        return [fill(word, values) for word in self.command.split()]


PROXIES = {proxy.name: proxy for proxy in (
    Proxy("relay", "{program} {workers} {port} {b1} {b2} {b3}"),
    Proxy("nginx", "{program} -p {dir} -c {config}", NGINX, NGINX_TLS, NGINX_LIMIT, version="-v", package="nginx-light"),
    Proxy("haproxy", "{program} -db -f {config}", HAPROXY, HAPROXY_TLS, HAPROXY_LIMIT, version="-v", package="haproxy"),
    Proxy("evenkeel", "{program} run -c {config}", EVENKEEL, EVENKEEL_TLS, EVENKEEL_LIMIT, version="--version"),
)}


def fill(template, values):
    return re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]), template)


def find_program(name, package):
    # Debian keeps daemons in /usr/sbin, which is not in everybody's PATH.
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    program = shutil.which(name, path=path)
    if not program:
        sys.exit(f"{name} is not installed. On Debian: apt-get install {package}")
    return program


def first_line(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines() or ["version unknown"]
    line = re.sub(r"^nginx version: ", "", lines[0])
    return re.split(r" \d{4}/| - | \[| Copyright", line)[0]
