"use strict";
/* Try rejects again. */
document.querySelectorAll("[data-replay]").forEach((button) => button.addEventListener("click", async () => {
  const { say } = weibowatch;
  const outcome = document.getElementById("outcome");
  button.disabled = true;
  try {
    const answer = await fetch("/api/actions/replay_rejects", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: button.dataset.replay,
    });
    const found = await answer.json();
    outcome.textContent = answer.ok
      ? say("replayed", { replayed: found.replayed, still: found.still_rejected })
      : say("failed", { message: found.error.message });
  } catch (error) {
    outcome.textContent = say("failed", { message: error.message });
  }
  button.disabled = false;
}));
