// What the server does not know: how long this page has been alone, and what to do then.

export const ALONE = 1000; // ms without a state

// -> { word, reason, commander, tone: "good" | "look" | "bad" | "calm" }
export function situation(state, silence) {
  if (state && silence <= ALONE) return state;
  return { word: "No connection", reason: "this page no longer hears the robot's computer", commander: "", tone: "bad" };
}

export function alarm(state, silence, isStopping) {
  if (!state || silence > ALONE) {
    const since = `for ${(silence / 1000).toFixed(0)} s`;
    return `No connection ${since}. STOP is tried on and on, but may not arrive: use the emergency stop.`;
  }
  if (!state.policy.is_heard && state.policy.silence_s !== null) {
    return "The policy node does not answer. STOP may not arrive: use the emergency stop.";
  }
  if (isStopping || state.stopping_s > 0.5) {
    return "STOP is not confirmed yet. If the arm moves, use the emergency stop.";
  }
  return "";
}

export function duration(seconds) {
  if (seconds >= 7200) return `${(seconds / 3600).toFixed(0)} h`;
  return seconds >= 120 ? `${(seconds / 60).toFixed(0)} min` : `${seconds.toFixed(0)} s`;
}

export function disk(recorder) {
  if (typeof recorder.disk_free_bytes !== "number") return "–";
  const free = `${(recorder.disk_free_bytes / 2 ** 30).toFixed(1)} GiB free`;
  return typeof recorder.disk_left_s === "number" ? `${free}, ${duration(recorder.disk_left_s)}` : free;
}
