"""What every HTTP door shares: requests, responses, credentials, streaming, paging, observation."""
