"use strict";
// Keys choose: the letter of an answer, the digit of a confidence; Enter saves once both are chosen.
const answer = document.getElementById("answer");
const save = document.getElementById("save");
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "Enter") {
    if (event.target.closest("button") || save.disabled) return;
    answer.requestSubmit();
  } else {
    const choice = answer.querySelector(`input[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (choice === null) return;
    choice.checked = true;
    choice.focus();
  }
  event.preventDefault();
});
// An answer is sent once.
answer.addEventListener("submit", () => { save.disabled = true; });
