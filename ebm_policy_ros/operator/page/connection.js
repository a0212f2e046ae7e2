// Connection to the server: one websocket, signs of life, commands, and a STOP that tries again.

const RETRY = 1000; // ms until the next attempt to connect
const DEAF = 3000; // ms without a state after which the websocket is given up
const STOP_AGAIN = 250; // ms between two attempts of a STOP
const WRONG_TOKEN = 4401;

export class Connection {
  // handlers: state(state), log(entries), picture(name, bytes), refused(), stopping(isPending)
  constructor(token, handlers) {
    this.token = token;
    this.handlers = handlers;
    this.page = "";
    this.seen = 0; // number of the last state that was shown
    this.heard = performance.now();
    this.shown = [];
    this.waiting = new Map();
    this.number = 0;
    this.stopTimer = null;
    this.open();
    setInterval(() => this.watch(), 500);
  }

  get silence() {
    return performance.now() - this.heard;
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/socket`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.send({ type: "hello", token: this.token });
    socket.onmessage = (event) => socket === this.socket && this.take(event.data);
    socket.onclose = (event) => {
      if (socket !== this.socket) return;
      this.forget();
      if (event.code === WRONG_TOKEN) this.handlers.refused();
      else setTimeout(() => this.open(), RETRY);
    };
    this.socket = socket;
    this.opened = performance.now();
  }

  send(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  // A half-dead connection looks open for minutes.
  watch() {
    if (this.socket && this.silence > DEAF && performance.now() - this.opened > DEAF) {
      this.socket.close();
      this.forget();
      this.open();
    }
  }

  // Nobody knows what became of the commands that were not answered.
  forget() {
    this.socket = null;
    for (const settle of this.waiting.values()) settle({ done: false, text: "the connection was lost; look at the log" });
    this.waiting.clear();
  }

  take(data) {
    if (data instanceof ArrayBuffer) {
      const bytes = new Uint8Array(data);
      const end = bytes.indexOf(0);
      const name = new TextDecoder().decode(bytes.subarray(0, end));
      this.handlers.picture(name, bytes.subarray(end + 1));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "state") {
      this.heard = performance.now();
      this.handlers.state(message);
    } else if (message.type === "welcome") {
      this.page = message.page;
      this.send({ type: "show", pictures: this.shown });
    } else if (message.type === "log") {
      this.handlers.log(message.entries);
    } else if (message.type === "answer") {
      this.waiting.get(message.id)?.(message);
      this.waiting.delete(message.id);
    }
  }

  // The operator sees this state now; commands count only while that is fresh.
  saw(state) {
    this.seen = state.n;
    this.send({ type: "beat", n: state.n });
  }

  show(pictures) {
    if (pictures.join() === this.shown.join()) return;
    this.shown = pictures;
    this.send({ type: "show", pictures });
  }

  command(name, value = null) {
    const id = ++this.number;
    const sent = this.send({ type: "command", id, name, value, n: this.seen });
    if (!sent) return Promise.resolve({ done: false, text: "no connection" });
    return new Promise((settle) => this.waiting.set(id, settle));
  }

  // Over the websocket at once, and over new connections as well until an answer confirms it.
  stop() {
    if (this.stopTimer !== null) return;
    let attempts = 0;
    const attempt = () => {
      this.command("stop").then((answer) => answer.done && confirmed());
      if (attempts++ > 0 || this.silence > 500) this.post().then((done) => done && confirmed());
    };
    const timer = (this.stopTimer = setInterval(attempt, STOP_AGAIN));
    const confirmed = () => {
      if (this.stopTimer !== timer) return; // a late answer confirms no later STOP
      clearInterval(timer);
      this.stopTimer = null;
      this.handlers.stopping(false);
    };
    this.handlers.stopping(true);
    attempt();
  }

  async post() {
    try {
      const answer = await fetch("/stop", {
        method: "POST",
        headers: { Authorization: `Bearer ${this.token}` },
        signal: AbortSignal.timeout?.(2000),
      });
      return answer.ok && (await answer.json()).done;
    } catch {
      return false;
    }
  }
}
