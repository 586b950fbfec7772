"""Say how to answer: freely or not, how long, where to end, and how many times."""

from llama_dashscope import Client, Message

with Client() as client:
    reply = client.call(
        "llama3.3-70b-instruct",
        messages=[Message("user", "给一家书店起个名字。")],
        temperature=0.8,  # 0 is the most predictable
        top_p=0.9,
        seed=7,
        max_tokens=100,
        stop=["\n\n"],
        n=2,
    )

for choice in reply.output.choices or ():
    print(choice.index, choice.finish_reason, choice.message.content)
