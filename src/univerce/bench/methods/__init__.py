"""The methods, one in each module under the name ``METHOD``; what they need is imported when they run."""
