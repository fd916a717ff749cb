"use strict";
// Contrast, brightness and zoom stay from image to image of a test: its images are alike.
const kept = `${location.pathname} ${document.getElementById("answer").dataset.test}`;
viewer.restore(sessionStorage.getItem(kept));
viewer.changed = () => sessionStorage.setItem(kept, viewer);
