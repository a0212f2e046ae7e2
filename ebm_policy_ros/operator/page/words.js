// The state of everything in words. Texts from outside are only ever set as textContent.

// -> { word, reason, tone: "good" | "look" | "bad" | "calm" }
export function situation(state, silence) {
  if (!state || silence > 1000) {
    return { word: "No connection", reason: "this page no longer hears the robot's computer", tone: "bad" };
  }
  const policy = state.policy;
  if (state.stopping_s !== null) {
    return { word: "Stopping", reason: `not confirmed for ${state.stopping_s.toFixed(1)} s`, tone: "bad" };
  }
  if (!policy.is_heard) {
    const since = policy.silence_s === null ? "was never heard" : `is silent for ${policy.silence_s.toFixed(0)} s`;
    return { word: "No policy node", reason: `${policy.node} ${since}`, tone: "bad" };
  }
  if (policy.state === "stopped") return { word: "Stopped", reason: policy.reason, tone: "bad" };
  if (policy.lifecycle === "unconfigured") return { word: "Not started", reason: "nothing moves", tone: "calm" };
  if (policy.lifecycle === "inactive") return { word: "Inactive", reason: "nothing moves", tone: "calm" };
  if (policy.state === "hold") return { word: "Standing still", reason: policy.reason, tone: "look" };
  if (policy.shadow) return { word: "Shadow", reason: "proposes commands; the arm does not move", tone: "calm" };
  const unsure = policy.unsure ?? [];
  if (unsure.length) return { word: "Unsure", reason: unsure.join("; "), tone: "look" };
  return { word: "Moving the arm", reason: `at ${Math.round(policy.speed * 100)} % of its speed`, tone: "good" };
}

export function alarm(state, silence, isStopping) {
  if (!state || silence > 1000) {
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
  return typeof recorder.disk_left_s === "number" ? `${free}, for ${duration(recorder.disk_left_s)}` : free;
}
