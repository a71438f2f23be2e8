"""What the card of a net made for a test says."""

ABOUT = {"version": "0", "trained_on": "nothing", "made_with": "a test", "numbers": {}, "limits": "none", "licence": "none"}
