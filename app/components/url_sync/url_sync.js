// Completes the address of a page that was just opened: Streamlit reads it anew at every run.

/**
 * Streamlit calls this at the first draw and whenever page or parameters change; an address that says something stays.
 * @param {{ data: { said: string } }} component
 */
export default function ({ data: { said } }) {
  if (said && !location.search) history.replaceState(history.state, "", `${location.pathname}?${said}${location.hash}`);
}
