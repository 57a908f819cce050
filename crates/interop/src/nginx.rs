//! nginx, serving a folder.

use crate::{Child, Content, Scenario};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long it may take to begin.
const READY: Duration = Duration::from_secs(20);

/// An nginx at an address of its own.
pub struct Nginx {
    addr: SocketAddr,
    folder: PathBuf,
    child: Option<Child>,
    runs: u32,
}

impl Scenario {
    /// Serves the folder that holds this content at a public address that is made for it, port 80, with these
    /// directives besides.
    pub fn nginx(&self, ip: &str, content: &Content, directives: &str) -> Nginx {
        self.serve(ip, 80, content, directives)
    }

    /// The same over HTTPS and HTTP/2, with a certificate of its own: whoever is to trust it is to be told
    /// [so](Nginx::certificate).
    pub fn nginx_with_tls(&self, ip: &str, content: &Content) -> Nginx {
        self.serve(ip, 443, content, "")
    }

    fn serve(&self, ip: &str, port: u16, content: &Content, directives: &str) -> Nginx {
        self.also_at(ip);
        let folder = self.path(&format!("nginx-{ip}"));
        let root = content.path.parent().unwrap();
        fs::create_dir_all(&folder).unwrap();
        let addr = format!("{ip}:{port}");
        let (listen, directives) = match port {
            443 => {
                certify(&folder, ip);
                (
                    format!("{addr} ssl http2"),
                    "ssl_certificate cert.pem; ssl_certificate_key key.pem;",
                )
            }
            _ => (addr.clone(), directives),
        };
        fs::write(
            folder.join("nginx.conf"),
            config(&folder, &listen, root, directives),
        )
        .unwrap();
        let mut nginx = Nginx {
            addr: addr.parse().unwrap(),
            folder,
            child: None,
            runs: 0,
        };
        nginx.begin();
        nginx
    }
}

impl Nginx {
    /// Where the folder is, with a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.addr.port() == 443 {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/", self.addr.ip())
    }

    /// What shows that it is who it says, over HTTPS.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// It begins, or begins again.
    pub fn begin(&mut self) {
        self.runs += 1;
        let mut command = Command::new("/usr/sbin/nginx");
        command
            .arg("-c")
            .arg(self.folder.join("nginx.conf"))
            .arg("-p")
            .arg(&self.folder);
        let out = self.folder.join(format!("run{}", self.runs));
        let mut child = Child::start("nginx", command, &out);
        let addr = self.addr;
        child.wait("it listens", READY, |_| TcpStream::connect(addr).ok());
        self.child = Some(child);
    }

    /// It is killed, with all connections.
    pub fn die(&mut self) {
        self.child = None;
    }

    /// What it answered so far: status, bytes, path and protocol, a line each.
    pub fn answers(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// A certificate for an address, signed by itself.
fn certify(folder: &Path, ip: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=a server", "-addext"])
        .arg(format!("subjectAltName=IP:{ip}"))
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn config(folder: &Path, listen: &str, root: &Path, directives: &str) -> String {
    let (folder, root) = (folder.display(), root.display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .concat();
    // One process, so that it dies whole.
    format!(
        "user root; daemon off; master_process off; pid {folder}/pid; error_log stderr;
        events {{}}
        http {{
            log_format plain '$status $body_bytes_sent $uri $server_protocol';
            access_log {folder}/access.log plain;
            default_type application/octet-stream;
            {temporary}
            server {{ listen {listen}; root '{root}'; {directives} }}
        }}"
    )
}
