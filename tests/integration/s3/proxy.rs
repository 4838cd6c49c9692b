//! A proxy in front of an S3 server that counts requests, and lets some of them fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with 500, and never reaches the server.
    Error,
    /// It is answered with 503, as by a server that throttles, and never reaches the server.
    SlowDown,
    /// The connection is closed before the request reaches the server.
    Cut,
    /// The server does what it is told, and the answer is an error.
    LostBehindError,
    /// The server does what it is told, and the connection is closed without an answer.
    Lost,
    /// Half of the answer comes, then the connection is closed.
    Half,
    /// Nothing comes for longer than a client waits; then the server does what it is told.
    Late,
    /// It is answered with a page for people, as by the console of a server, and never reaches the server.
    Page,
}

/// Those of a server that is in trouble.
const ALL: [Fault; 7] = [
    Fault::Error,
    Fault::SlowDown,
    Fault::Cut,
    Fault::LostBehindError,
    Fault::Lost,
    Fault::Half,
    Fault::Late,
];

/// A request as the proxy has seen it.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// Whether it is a put that fails where an object is.
    pub is_conditional: bool,
}

/// Says what happens to a request.
type Choice = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

struct Shared {
    upstream: String,
    seen: Mutex<Vec<Request>>,
    choose: Mutex<Choice>,
    faults: AtomicU64,
}

/// A running proxy; it ends with the runtime.
pub struct Proxy {
    pub endpoint: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy before the server at `endpoint` that lets everything through.
    pub async fn start(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            upstream: endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            seen: Mutex::default(),
            choose: Mutex::new(Box::new(|_| None)),
            faults: AtomicU64::new(0),
        });
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    // A client that goes away is no failure of the test.
                    let _ = serve(stream, &shared).await;
                });
            }
        });
        Self { endpoint, shared }
    }

    /// From now on, this says what happens to requests.
    pub fn choose(&self, choice: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        *self.shared.choose.lock().unwrap() = Box::new(choice);
    }

    /// From now on, so many of a hundred requests fail, each in a way that the seed decides.
    pub fn fail_at_random(&self, percent: u64, seed: u64) {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        self.choose(move |_| (draw() % 100 < percent).then(|| ALL[(draw() % ALL.len() as u64) as usize]));
    }

    /// From now on, everything gets through.
    pub fn heal(&self) {
        self.choose(|_| None);
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// How many requests have failed so far.
    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }
}

async fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some((head, body)) = read_request(&mut client).await? else { return Ok(()) };
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split_whitespace();
    let request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        is_conditional: text.to_lowercase().contains("\r\nif-none-match: *"),
    };
    let fault = (shared.choose.lock().unwrap())(&request);
    let is_head = request.method == "HEAD";
    shared.seen.lock().unwrap().push(request);
    if fault.is_some() {
        shared.faults.fetch_add(1, Ordering::Relaxed);
    }
    match fault {
        Some(Fault::Error) => {
            return refuse(&mut client, "500 Internal Server Error", "InternalError", is_head).await;
        }
        Some(Fault::SlowDown) => return refuse(&mut client, "503 Slow Down", "SlowDown", is_head).await,
        Some(Fault::Page) => {
            let body = "<html><head><title>Console - log in</title></head><body></body></html>";
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            client.write_all(head.as_bytes()).await?;
            if !is_head {
                client.write_all(body.as_bytes()).await?;
            }
            return client.shutdown().await;
        }
        Some(Fault::Cut) => return Ok(()),
        Some(Fault::Late) => tokio::time::sleep(Duration::from_secs(3)).await,
        _ => {}
    }
    let answer = forward(&shared.upstream, &text, &body).await?;
    match fault {
        None => client.write_all(&answer).await?,
        Some(Fault::LostBehindError) => {
            return refuse(&mut client, "500 Internal Server Error", "InternalError", is_head).await;
        }
        Some(Fault::Half) => client.write_all(&answer[..answer.len() / 2]).await?,
        Some(_) => {}
    }
    client.shutdown().await
}

async fn refuse(client: &mut TcpStream, status: &str, code: &str, is_head: bool) -> std::io::Result<()> {
    let body = format!("<Error><Code>{code}</Code><Message>The proxy says so.</Message></Error>");
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    if !is_head {
        client.write_all(body.as_bytes()).await?;
    }
    client.shutdown().await
}

/// The head and the body of a request; `None` when the client says nothing.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    };
    let mut body = read.split_off(end);
    let text = String::from_utf8_lossy(&read).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((read, body)))
}

/// The whole answer of the server. Each request has a connection of its own.
async fn forward(upstream: &str, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    let mut lines: Vec<&str> = head
        .trim_end()
        .split("\r\n")
        .filter(|line| !line.to_lowercase().starts_with("connection:"))
        .collect();
    lines.push("Connection: close");
    server.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    // The client must not wait for another answer here.
    let text = String::from_utf8_lossy(&answer);
    if let Some(end) = text.find("\r\n\r\n")
        && !text[..end].to_lowercase().contains("\r\nconnection: close")
    {
        let mut closing = answer[..end].to_vec();
        closing.extend_from_slice(b"\r\nConnection: close");
        closing.extend_from_slice(&answer[end..]);
        return Ok(closing);
    }
    Ok(answer)
}
